"""What everything else stands on: parameters, files, random streams, errors."""
