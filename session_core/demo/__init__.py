"""Sample data: a month of simulated sessions that ends now, in its middle a switch from one policy to another."""
