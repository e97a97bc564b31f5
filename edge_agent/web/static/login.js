// A code that was scanned stands behind the address's #, which browsers send to nobody.

const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  const form = document.querySelector("form");
  form.elements.token.value = code;
  form.requestSubmit();
}
