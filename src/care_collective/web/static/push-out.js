// Who signs out is told nothing more on this device: whoever sits here next would read it. Nor is who had a session that
// only ran out, once somebody else has signed in.

const LONGEST = 2000; // milliseconds that signing out may wait for the browser
const form = document.querySelector("form[action='/sign-out']");
const { member } = document.querySelector("script[data-member]").dataset;
let leaving = false;

// Whom this browser tells, as push.js has noted.
function whom() {
  try {
    return localStorage.getItem("care-push");
  } catch {
    return null;
  }
}

async function leave() {
  const registration = await navigator.serviceWorker.getRegistration("/");
  const one = await registration?.pushManager.getSubscription();
  if (one) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "push_endpoint" });
    field.value = one.endpoint;
    form?.append(field);
    await one.unsubscribe();
  }
  localStorage.removeItem("care-push");
  (await registration?.getNotifications())?.forEach((shown) => shown.close());
}

// The site finds that one gone with the next push, and the other member gets letters.
if ((whom() ?? member) !== member) {
  leave().catch(() => {});
}

form?.addEventListener("submit", (event) => {
  if (!leaving && whom() === null) {
    return;
  }
  event.preventDefault();
  if (!leaving) {
    leaving = true;
    const late = new Promise((go) => setTimeout(go, LONGEST));
    Promise.race([leave().catch(() => {}), late]).then(() => form.submit());
  }
});
