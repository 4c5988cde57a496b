// Elements that a page is known to have; a missing one is an error of the page.

/** @type {<T>(element: T | null | undefined, name: string) => T} */
function existing(element, name) {
  if (!element) throw new Error(`This page has no ${name}.`);
  return element;
}

/** @type {<K extends string>(id: K) => ElementById<K>} */
export const $ = (id) => /** @type {ElementById<typeof id>} */ (existing(document.getElementById(id), `#${id}`));

/**
 * The first element below `root` that a selector finds.
 * @type {<S extends string>(root: ParentNode, selector: S) => Selected<S>}
 */
export const find = (root, selector) => existing(root.querySelector(selector), selector);

/**
 * The nearest element around `element`, or itself.
 * @type {<S extends string>(element: Element, selector: S) => Selected<S>}
 */
export const around = (element, selector) => existing(element.closest(selector), selector);

/**
 * @type {<K extends keyof HTMLElementTagNameMap>(name: K, properties?: Partial<HTMLElementTagNameMap[K]>) => HTMLElementTagNameMap[K]}
 */
export const make = (name, properties = {}) => Object.assign(document.createElement(name), properties);
