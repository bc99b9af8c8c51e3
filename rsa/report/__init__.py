"""What people read: `figures`, `glass` and `slices` (maps on brains), `html` (a page) and `study` (a study's report)."""
