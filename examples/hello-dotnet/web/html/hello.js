"use strict";

const show = (text) => { document.getElementById("answer").textContent = text; };

/** The API's answer to a request for `name`; while it starts, nginx or the API itself says 502 or 503. */
async function api(name, options) {
  const response = await fetch(`hello/${encodeURIComponent(name)}`, options);
  if (!response.ok) throw new Error(`The API answers ${response.status}.`);
  return response;
}

/** Do `work` with the form's fields whenever it is sent; what goes wrong is shown. */
function onSubmit(id, work) {
  document.getElementById(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await work(Object.fromEntries(new FormData(event.target)));
    } catch (error) {
      show(error.message);
    }
  });
}

onSubmit("send", async ({ sender, name }) => {
  await api(name, { method: "POST", body: sender });
  show(`${name} will hear of it.`);
});

onSubmit("ask", async ({ name }) => {
  const { greeting, from } = await (await api(name)).json();
  show(from.length ? `${greeting} These said hello to you: ${from.join(", ")}.` : `${greeting} Nobody has said hello since you last asked.`);
});
