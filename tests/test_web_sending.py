"""What a browser is sent does not wait for what it has acknowledged."""

from __future__ import annotations

import socket

from session_core.web.sending import send_at_once


def test_what_connects_is_sent_even_little_at_once() -> None:
    """As Streamlit listens: without naming TCP, before the app knows of it."""
    with socket.socket(socket.AF_INET) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert not listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        send_at_once()
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_listens_goes_on_listening_and_other_sockets_are_left_alone() -> None:
    """They are looked at where they are, and given back."""
    with socket.socket(socket.AF_INET) as resting, socket.socket(socket.AF_INET) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        send_at_once()
        assert not resting.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listening.getsockname()) as connected:
            accepted, address = listening.accept()
            accepted.close()
            assert address == connected.getsockname()
