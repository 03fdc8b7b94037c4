"""The web side: sign-in, cookies, and the session of the person in front of a page."""
