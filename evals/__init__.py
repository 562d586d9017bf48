"""Is the challenger better? lm-eval tasks, scores per item, paired statistics, verdict, report."""
