"""Makes a challenger: method choice, TRL training, the nightly run."""
