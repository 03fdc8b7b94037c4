// Tells the app that somebody is here, warns before a limit, and covers the page at it. What the app says counts.
(() => {
  "use strict";
  (window.sessionPresence ??= begin()).ask();

  function begin() {
    const PATH = "/auth/activity";
    const LOOK_MS = 20_000;
    const AGAIN_MS = 5_000;
    const RELOAD_MS = 1_000;
    const tabs = new BroadcastChannel("session-presence");
    let told = null; // the app's last word,
    let toldAt = null; // and when it was asked for
    let timer = 0;
    let sentAt = 0;
    let actedAt = 0;
    let owed = 0;
    let checked = false; // whether the app was asked once more before warning
    let pointer = "";
    let card = null;
    let cover = null;

    const now = () => ({ wall: Date.now(), run: performance.now() });
    // The wall clock goes on while a device sleeps, the other cannot be set back.
    const leftS = () =>
      told.left_s - Math.max(0, Date.now() - toldAt.wall, performance.now() - toldAt.run) / 1000;

    async function say(act) {
      const at = now();
      if (act) sentAt = at.wall;
      try {
        const answer = await fetch(act ? `${PATH}?act=${act}` : PATH, {
          method: act ? "POST" : "GET",
          cache: "no-store",
          redirect: "error",
        });
        if (answer.ok) {
          const news = await answer.json();
          const wasOpen = told?.how === "open";
          tabs.postMessage({ news, wall: at.wall });
          hear(news, at);
          // Signed out in another tab; not after an act, or it would get in the way of a sign-out in this one.
          if (!act && wasOpen && news.how === "nobody") setTimeout(() => location.reload(), RELOAD_MS);
          return true;
        }
      } catch {
        // Out of reach: the last word stands.
      }
      if (act) sentAt = 0;
      look();
      return false;
    }

    async function ask() {
      if (!(await say())) setTimeout(ask, AGAIN_MS);
    }

    function hear(news, at) {
      if (toldAt && at.wall < toldAt.wall) return;
      const final = told && told.how !== "open" && cover;
      told = news;
      toldAt = at;
      if (news.how === "locked" || news.how === "ended") showCover();
      else if (final) location.reload();
      else if (cover) hideCover();
      look();
    }

    function look() {
      clearTimeout(timer);
      if (!told || told.how !== "open" || told.left_s === null) return showCard(null);
      const left = leftS();
      if (left > told.warn_s) {
        checked = false;
        showCard(null);
        timer = setTimeout(look, Math.min((left - told.warn_s) * 1000 + 50, LOOK_MS));
      } else if (left > 0 && !checked) {
        checked = true;
        say();
      } else if (left > 0) {
        showCard(left);
        timer = setTimeout(look, Math.min((left % 1 || 1) * 1000, left * 1000));
      } else if (!cover) {
        showCover();
        say();
      } else {
        timer = setTimeout(say, AGAIN_MS);
      }
    }

    function acted(deliberate) {
      if (!told || told.how !== "open" || cover) return;
      actedAt = Date.now();
      const warned = card && told.extends;
      if (warned && !deliberate) return;
      const waitMs = warned ? 0 : sentAt + told.every_s * 1000 - actedAt;
      if (waitMs <= 0) say("acted");
      else owed ||= setTimeout(settle, waitMs);
    }

    function settle() {
      owed = 0;
      // Not what was done before the device slept.
      if (Date.now() - actedAt <= 2000 * told.every_s) say("acted");
    }

    function on(name, handle) {
      const heard = (event) => {
        if (event.isTrusted && !card?.contains(event.target)) handle(event);
      };
      addEventListener(name, heard, { capture: true, passive: true });
    }

    for (const name of ["pointerdown", "keydown", "wheel", "touchstart"]) on(name, () => acted(true));
    on("pointermove", (event) => {
      // Browsers say so as well when the page moves under a pointer at rest.
      const place = `${event.screenX} ${event.screenY}`;
      if (pointer && place !== pointer) acted(false);
      pointer = place;
    });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible" || !told) return;
      look();
      if (told.how === "open" && !cover) say("focus");
      else say();
    });
    addEventListener("pageshow", (event) => event.persisted && (look(), say()));
    addEventListener("online", () => say());
    tabs.onmessage = ({ data }) =>
      hear(data.news, { wall: data.wall, run: performance.now() - (Date.now() - data.wall) });

    function part(kind, text, style, parent) {
      const made = document.createElement(kind);
      made.textContent = text;
      Object.assign(made.style, style);
      parent?.append(made);
      return made;
    }

    const BUTTON = {
      display: "inline-block",
      padding: ".45rem 1rem",
      border: "0",
      borderRadius: ".5rem",
      background: "#1d4ed8",
      color: "#fff",
      font: "inherit",
      fontWeight: "600",
      textDecoration: "none",
      cursor: "pointer",
    };

    function lookOfPage() {
      const { backgroundColor: background, color, fontFamily } = getComputedStyle(
        document.querySelector(".stApp") ?? document.body,
      );
      return { background, color, fontFamily, fontSize: "1rem", lineHeight: "1.5" };
    }

    function signIn(parent) {
      const link = part("a", "Sign in again", BUTTON, parent);
      link.href = `/auth/sign-in?return_to=${encodeURIComponent(location.pathname + location.search)}`;
      return link;
    }

    function showCard(left) {
      if (left === null || cover) {
        card?.remove();
        card = null;
        return;
      }
      card ??= makeCard();
      const whole = Math.ceil(left);
      card.querySelector("[role=timer]").textContent =
        `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
    }

    function makeCard() {
      const made = part("section", "", {
        ...lookOfPage(),
        position: "fixed",
        inset: "auto 1rem 1rem auto",
        margin: "0",
        width: "min(24rem, calc(100vw - 2rem))",
        boxSizing: "border-box",
        padding: "1rem 1.25rem",
        border: "1px solid #8b95a5",
        borderRadius: ".75rem",
        boxShadow: "0 .5rem 1.5rem rgb(0 0 0 / 25%)",
        zIndex: "2000000",
      });
      made.id = "session-warning";
      made.setAttribute("aria-label", "Your session");
      part("p", told.warning, { margin: "0 0 .5rem" }, made).setAttribute("role", "alert");
      const row = part("div", "", { display: "flex", alignItems: "center", gap: "1rem" }, made);
      const clock = { fontSize: "1.5rem", fontWeight: "600", fontVariantNumeric: "tabular-nums" };
      part("span", "", clock, row).setAttribute("role", "timer");
      if (told.extends) part("button", "Stay signed in", BUTTON, row).onclick = () => say("stay");
      else signIn(row);
      made.popover = "manual";
      document.body.append(made);
      made.showPopover?.();
      return made;
    }

    function showCover() {
      cover ??= makeCover();
      showCard(null);
      const [title, why] = cover.querySelectorAll("h2, p");
      [title.textContent, why.textContent] = [told.title, told.why];
      if (!cover.open) cover.showModal();
    }

    function makeCover() {
      const made = part("dialog", "", {
        ...lookOfPage(),
        position: "fixed",
        inset: "0",
        width: "100vw",
        height: "100vh",
        maxWidth: "none",
        maxHeight: "none",
        boxSizing: "border-box",
        margin: "0",
        padding: "1.5rem",
        border: "0",
        placeContent: "center",
        justifyItems: "center",
        textAlign: "center",
      });
      made.style.display = "grid";
      made.id = "session-cover";
      const title = part("h2", "", { margin: "0 0 .5rem", fontSize: "1.5rem", color: "inherit" }, made);
      title.id = "session-cover-title";
      made.setAttribute("aria-labelledby", title.id);
      part("p", "", { margin: "0 0 1.25rem", maxWidth: "32rem" }, made);
      signIn(made);
      made.addEventListener("cancel", (event) => event.preventDefault());
      made.addEventListener("close", () => cover && cover.showModal());
      document.body.append(made);
      document.getElementById("root").style.visibility = "hidden";
      return made;
    }

    function hideCover() {
      const over = cover;
      cover = null;
      over.remove();
      document.getElementById("root").style.visibility = "";
    }

    return { ask };
  }
})();
