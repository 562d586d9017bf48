"""What people said about answers: the store, curation, splits, snapshots, import and export."""
