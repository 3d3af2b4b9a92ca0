// Offers the time zone of this device first, in the settings. Without it, it stands in the list as all others do.

const list = document.querySelector("[data-own-zone]");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
const same = own && list.querySelector(`option[value="${CSS.escape(own)}"]`);

if (same && !same.selected) {
  const group = document.createElement("optgroup");
  group.label = list.dataset.ownZone;
  group.append(new Option(same.text, own));
  list.options[0].after(group);
}
