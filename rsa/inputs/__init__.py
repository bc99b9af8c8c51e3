"""What a study is given besides brain data: stimuli, references, regions, templates."""
