"""When pipelines run: timetables by the configuration's words, and APScheduler as the clock that rings."""
