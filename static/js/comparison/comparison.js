// The address of a comparison has its runs and filters: a button copies it.

const button = document.querySelector("button[data-copy-address]");

if (button && navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copy the address";
    }
    setTimeout(() => (button.textContent = "Copy link"), 2000);
  });
}
