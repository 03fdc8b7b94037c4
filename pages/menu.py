"""The frame around every page: navigation, the shared filters, and what a reader must know wherever they are."""

# A process that plays scenarios is started from this one and reads its main script; it must find nothing to do there.
if __name__ == "__main__":
    import streamlit as st
    from parts import frame, presence

    from session_core.dashboard import steady

    st.set_page_config(page_title="Session Lab", page_icon="pages/parts/icon.svg", layout="wide")

    overview = st.Page("observe/overview.py", title="Overview", icon=":material/monitoring:", default=True)
    trends = st.Page("observe/ux_trends.py", title="UX trends", icon=":material/trending_up:", url_path="trends")
    errors = st.Page("observe/errors.py", title="Errors", icon=":material/error:", url_path="errors")
    sessions = st.Page("observe/sessions.py", title="Sessions", icon=":material/manage_search:", url_path="sessions")
    simulate = st.Page("experiment/simulate.py", title="Simulate", icon=":material/experiment:", url_path="simulate")
    compare = st.Page("experiment/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare")
    health = st.Page(
        "operate/session_health.py", title="Session health", icon=":material/ecg_heart:", url_path="health"
    )
    chat = st.Page("operate/chat.py", title="Chat", icon=":material/chat:", url_path="chat")
    devices = st.Page("operate/devices.py", title="Devices", icon=":material/devices:", url_path="devices")
    alerts = st.Page("operate/alerts.py", title="Alerts", icon=":material/notifications:", url_path="alerts")

    observe = [overview, trends, errors, sessions]
    pages = {"Observe": observe, "Experiment": [simulate, compare], "Operate": [health, chat, devices, alerts]}
    page = st.navigation(pages, position="hidden")
    frame.sidebar(pages, page, observe)
    st.sidebar.html(steady.MARKUP, unsafe_allow_javascript=True)
    frame.banners()
    presence.stop_if_over()
    page.run()
