"""What `regmix run` would make again, said before it is run: nothing is trained, tokenised or fetched for it."""
