"""What is read and written: images, arrays, tables and RDMs as files, with provenance and checksums."""
