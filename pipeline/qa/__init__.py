"""What is looked at before a season is reviewed: seams, drift, change, unknown ground."""
