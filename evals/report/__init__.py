"""What a night did, as report.json and report.html."""
