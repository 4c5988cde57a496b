// Draws the OpenAPI document with Swagger UI, in the theme of the page, and lets a person who is logged in try it out.
const place = document.getElementById("api-docs");
const root = document.documentElement;

const follow = () => root.classList.toggle("dark-mode", root.dataset.bsTheme === "dark");
new MutationObserver(follow).observe(root, { attributes: true, attributeFilter: ["data-bs-theme"] });
follow();

const draw = () =>
  window.SwaggerUIBundle({
    domNode: place,
    url: place.dataset.url,
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    docExpansion: "list",
    validatorUrl: null,
    persistAuthorization: false,
    requestInterceptor: (request) => {
      request.headers["X-CSRFToken"] = place.dataset.token;
      return request;
    },
  });
if (window.SwaggerUIBundle) draw();
else addEventListener("load", draw);
