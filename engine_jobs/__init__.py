"""Jobs, schedules, sensors and the code location."""
