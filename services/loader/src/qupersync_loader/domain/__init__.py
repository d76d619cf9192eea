"""What a lane does with an event, and what its watermark says afterwards. Pure; imports the standard library only."""
