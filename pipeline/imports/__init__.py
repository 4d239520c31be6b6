"""Sample sheets as laboratories, surveyors and field forms send them, read row by row."""
