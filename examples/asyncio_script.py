"""A script that outlives its access token: twelve seconds of calls on tokens that live five.

Run it with `python examples/asyncio_script.py`. It brings its own identity provider, on a free loopback port.
"""

import asyncio

import httpx

from session_core import Event, SessionConfig, SessionService
from session_core.provider import ProviderConfig
from session_core.provider.running import running_provider
from session_core.provider.user_agent import HeadlessUserAgent
from session_core.wire import HttpxTransport

SECONDS = 12


def show(event: Event) -> None:
    if event.kind == "TokenRefreshed":
        print(f"  refreshed with {event.fact.left_s:.1f} s to spare")


async def main() -> None:
    with running_provider(ProviderConfig(access_ttl_s=5.0)) as provider:
        issuer = provider.config.issuer
        config = SessionConfig(
            issuer=issuer,
            client_id="session-lab",
            redirect_uri="http://127.0.0.1:8501/auth/callback",
            scope="openid profile offline_access api",
            api_url=f"{issuer}/api/",
        )
        async with SessionService(config, emit=show) as service, httpx.AsyncClient() as http:
            # A person would open login.url in a browser and come back to redirect_uri; here a form is filled in.
            login = await service.login()
            callback = await HeadlessUserAgent(HttpxTransport(http)).sign_in(login, "ada", "demo")
            session = await service.finish_login(callback, login)
            for _ in range(SECONDS):
                answer = await session.client.get("echo")
                print(answer.status_code, answer.json()["subject"], session.state)
                await asyncio.sleep(1.0)
            await service.sign_out(session.session_id)


if __name__ == "__main__":
    asyncio.run(main())
