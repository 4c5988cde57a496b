// Requests of scripts to this server.

export const UNREACHABLE = "The server does not respond. Try again in a moment.";
export const SESSION_ENDED = "Your session has expired. Sign in again in another tab.";

/** Headers of a JSON request. The CSRF cookie is read each time: a login in another tab renews it. */
export function headers() {
  const name = location.protocol === "https:" ? "__Host-csrftoken" : "csrftoken";
  const cookie = document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
  const rendered = JSON.parse(document.body.getAttribute("hx-headers") ?? "{}")["x-csrftoken"];
  return { "content-type": "application/json", "x-csrftoken": cookie ?? rendered };
}

/** `fetch` whose failure has a message for the user. @param {string} url @param {RequestInit} [options] */
export async function request(url, options) {
  try {
    return await fetch(url, options);
  } catch {
    throw new Error(UNREACHABLE);
  }
}

/** A GET whose every failure has a message for the user. @param {string} url */
export async function get(url) {
  const response = await request(url, { headers: headers() });
  if (response.redirected) throw new Error(SESSION_ENDED);
  if (!response.ok) throw new Error(`The server answered with ${response.status}. Try again in a moment.`);
  return response;
}

/**
 * The JSON of the response, as the endpoint documents it.
 * @template T
 * @param {string} url @param {unknown} body
 * @returns {Promise<T>}
 */
export async function post(url, body) {
  const response = await request(url, { method: "POST", headers: headers(), body: JSON.stringify(body) });
  if (response.redirected) throw new Error(SESSION_ENDED);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message ?? `The server answered with ${response.status}.`);
  return answer;
}

/** What an error says. @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));
