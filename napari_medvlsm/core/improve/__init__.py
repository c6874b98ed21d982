"""Improving a project's model from its outlined cases."""
