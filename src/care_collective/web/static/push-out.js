// Who signs out is told nothing more on this device: whoever sits here next would read it.

const LONGEST = 2000; // milliseconds that signing out may wait for the browser
const form = document.querySelector("form[action='/sign-out']");
let leaving = false;

function isOn() {
  try {
    return localStorage.getItem("care-push") !== null;
  } catch {
    return false;
  }
}

async function leave() {
  const registration = await navigator.serviceWorker.getRegistration("/");
  const one = await registration?.pushManager.getSubscription();
  if (one) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "push_endpoint" });
    field.value = one.endpoint;
    form.append(field);
    await one.unsubscribe();
  }
  localStorage.removeItem("care-push");
  (await registration?.getNotifications())?.forEach((shown) => shown.close());
}

form?.addEventListener("submit", (event) => {
  if (!leaving && !isOn()) {
    return;
  }
  event.preventDefault();
  if (!leaving) {
    leaving = true;
    const late = new Promise((go) => setTimeout(go, LONGEST));
    Promise.race([leave().catch(() => {}), late]).then(() => form.submit());
  }
});
