"""The suite: the same work in every framework, under one clock."""
