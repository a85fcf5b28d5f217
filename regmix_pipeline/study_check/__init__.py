"""Whether a study can run, found out before anything is fetched, tokenised or trained."""
