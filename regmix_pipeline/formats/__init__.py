"""A mixture as files that trainers read, each format in a module of its own."""
