"""Keeps people signed in across hours of idle."""
