"""What people read: `figures`, `glass` and `slices` (brains), `html` (a page) and `study` (a study's report)."""
