// What every script takes for granted about the page, for the type checker only: the browser never loads this file.

type Tags = HTMLElementTagNameMap & Omit<SVGElementTagNameMap, keyof HTMLElementTagNameMap>;

/** The element that a selector finds, by the tag of its last part; any HTML element where it names none. */
type Selected<S extends string> =
  S extends keyof Tags ? Tags[S]
  : S extends `${infer One}, ${infer Other}` ? Selected<One> | Selected<Other>
  : S extends `${string} ${infer Last}` ? Selected<Last>
  : S extends `[data-control]${string}` ? FormControl
  : S extends `${infer Tag}[${string}` ? Selected<Tag>
  : S extends `${infer Tag}:${string}` ? Selected<Tag>
  : S extends `${infer Tag}.${string}` ? Selected<Tag>
  : S extends `${infer Tag}#${string}` ? Selected<Tag>
  : HTMLElement;

/** A selector that begins with a tag. */
type Tagged<K extends keyof HTMLElementTagNameMap> = K | `${K}[${string}` | `${K}.${string}` | `${K}:${string}`;

/** An input, select or text area of a schema form. What only one of them has is used after its tag or type is known. */
interface FormControl extends HTMLElement {
  checked: boolean;
  disabled: boolean;
  name: string;
  readonly options: HTMLOptionsCollection;
  placeholder: string;
  selectedIndex: number;
  readonly selectedOptions: HTMLCollectionOf<HTMLOptionElement>;
  selectionEnd: number | null;
  selectionStart: number | null;
  readonly type: string;
  value: string;
  select(): void;
  setSelectionRange?(start: number, end: number): void;
}

/** Elements whose id says what they are. */
interface ElementsById {
  keys: HTMLDialogElement;
}
type ElementById<K extends string> = K extends keyof ElementsById ? ElementsById[K] : HTMLElement;

// Pages are HTML: whatever a selector, a child list or an event of a listener leads to is an HTML (or SVG) element.
interface ParentNode {
  querySelector<S extends string>(selectors: S): Selected<S> | null;
  querySelectorAll<S extends string>(selectors: S): NodeListOf<Selected<S>>;
}
interface Element extends HTMLOrSVGElement, ElementCSSInlineStyle {
  hidden: boolean | string;
  title: string;
  click(): void;
  closest<S extends string>(selectors: S): Selected<S> | null;
  matches<K extends keyof HTMLElementTagNameMap>(selectors: Tagged<K>): this is HTMLElementTagNameMap[K];
  matches(selectors: string): boolean;
}
interface Targeted {
  readonly target: HTMLElement;
  readonly relatedTarget?: HTMLElement | null;
}
type Listener<E> = (event: E & Targeted) => unknown;
interface Document {
  addEventListener<K extends keyof DocumentEventMap>(
    type: K, listener: Listener<DocumentEventMap[K]>, options?: boolean | AddEventListenerOptions,
  ): void;
}
interface HTMLElement {
  addEventListener<K extends keyof HTMLElementEventMap>(
    type: K, listener: Listener<HTMLElementEventMap[K]>, options?: boolean | AddEventListenerOptions,
  ): void;
}

/** What htmx says about a request, in the parts that are used here. */
interface HtmxDetail {
  elt: Element | null;
  xhr: XMLHttpRequest;
  target: Element | null;
  requestConfig: { verb: string; triggeringEvent?: Event };
  successful: boolean;
  shouldSwap: boolean;
  isError: boolean;
  lengthComputable: boolean;
  loaded: number;
  total: number;
}
type HtmxEvents = Record<
  `htmx:${
    | "afterRequest" | "afterSettle" | "afterSwap" | "beforeOnLoad" | "beforeSend" | "beforeSwap" | "oobAfterSwap" | "responseError"
    | "sendError" | "xhr:progress"}`,
  CustomEvent<HtmxDetail>
>;
interface Window {
  /** Missing on pages without fragments. */
  htmx?: { logger: (element: Element, name: string, detail: { error?: string }) => void };
}
interface DocumentEventMap extends HtmxEvents {
  "draft:change": CustomEvent;
}

declare module "*/vendor/uplot/uPlot.esm.js" {
  export { default } from "uplot";
}
