// Draws the OpenAPI document with Swagger UI, in the theme of the page; a user who is logged in can try requests.

import { $ } from "../site/dom.js";

/**
 * @typedef {{ headers: Record<string, string> }} SwaggerRequest
 * @typedef {Window & { SwaggerUIBundle?: (options: Record<string, unknown>) => void }} SwaggerWindow
 */

const swagger = /** @type {SwaggerWindow} */ (window);
const container = $("api-docs");
const root = document.documentElement;

const followTheme = () => root.classList.toggle("dark-mode", root.dataset.bsTheme === "dark");
new MutationObserver(followTheme).observe(root, { attributes: true, attributeFilter: ["data-bs-theme"] });
followTheme();

const draw = () =>
  swagger.SwaggerUIBundle?.({
    domNode: container,
    url: container.dataset.url,
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    docExpansion: "list",
    validatorUrl: null,
    persistAuthorization: false,
    /** @param {SwaggerRequest} request */
    requestInterceptor: (request) => {
      request.headers["X-CSRFToken"] = container.dataset.token ?? "";
      return request;
    },
  });
if (swagger.SwaggerUIBundle) draw();
else addEventListener("load", draw);
