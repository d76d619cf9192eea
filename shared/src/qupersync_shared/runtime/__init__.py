"""What a qupersync process stands on: settings, databases, JetStream, logging, lifecycle and the command line."""
