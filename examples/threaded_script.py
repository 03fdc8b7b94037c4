"""Blocking code in threads, on one session: twenty threads find the token expired and one refresh serves them all.

Run it with `python examples/threaded_script.py`. It brings its own identity provider, on a free loopback port.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx

from session_core import Session, SessionConfig, SessionService
from session_core.provider import Fault, FaultKind
from session_core.provider.running import running_provider
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.wire import HttpxTransport

THREADS = 20


def call(session: Session, api_url: str) -> int:
    """What a thread does: a plain httpx.Client, authorised by the session."""
    with httpx.Client(base_url=api_url, auth=session.auth) as client:
        return client.get("echo").status_code


async def main() -> None:
    with running_provider() as provider:
        issuer = provider.config.issuer
        config = SessionConfig(
            issuer=issuer,
            client_id="session-lab",
            redirect_uri="http://127.0.0.1:8501/auth/callback",
            scope="openid profile offline_access api",
            api_url=f"{issuer}/api/",
        )
        async with SessionService(config) as service, httpx.AsyncClient() as http:
            login = await service.login()
            callback = await HeadlessUserAgent(HttpxTransport(http)).sign_in(login, "ada", "demo")
            session = await service.finish_login(callback, login)

            # The provider forgets every access token; only the answers to the calls can tell.
            provider.faults.order(Fault(kind=FaultKind.REVOKE_ACCESS_TOKENS, times=1), 0.0)
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(THREADS) as threads:
                work = [loop.run_in_executor(threads, call, session, config.api_url) for _ in range(THREADS)]
                statuses = await asyncio.gather(*work)

        posts = provider.statistics().requests["token"]["ok"]
        print(f"{statuses.count(200)} of {THREADS} calls answered; {posts - 1} refresh")


if __name__ == "__main__":
    asyncio.run(main())
