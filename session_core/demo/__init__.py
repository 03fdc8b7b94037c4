"""Sample data: a month of simulated sessions that ends now, in its middle a switch from one policy to another."""

USERS, DAYS = 60, 30
USERS_MAX, DAYS_MAX = 2_000, 366
