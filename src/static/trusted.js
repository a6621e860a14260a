// The one place where text becomes HTML: what htmx has fetched from our own server. Browsers that know Trusted Types
// refuse it everywhere else. The server escapes every `<` that is not its own, so that what it sends is told exactly:
// an element or an attribute that runs something is none of its own, and stays text.

(() => {
  const TAG = /<(?:\/?([a-z][a-z0-9-]*)((?:\s+[^\s"'<>=`]+(?:="[^"]*")?)*)\s*>)?/gi;
  const VALUE = /="[^"]*"/g;
  const RUNS = /^(base|embed|frame|iframe|link|math|meta|object|script|style|svg)$/i;
  const HANDLER = /\s((hx-)?on|srcdoc)/i;

  function check(html) {
    return html.replace(TAG, (tag, name, attributes) => {
      const isOurs = name && !RUNS.test(name) && !HANDLER.test(attributes.replace(VALUE, ""));
      return isOurs ? tag : tag.replace("<", "&lt;");
    });
  }

  const rules = { createHTML: check };
  const policy = window.trustedTypes?.createPolicy("riverrun", rules) ?? rules;
  htmx.registerExtension("trusted", { init: (api) => api.initSecurity(policy) });
})();
