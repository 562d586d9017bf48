// Light or dark: the system's, until the switch on the chat page is pressed; then on every page.
(() => {
  const look = () => localStorage.getItem("pawl-look");
  const dress = () => {
    const isDark = look() ? look() === "dark" : document.body.classList.contains("dark");
    document.body.classList.toggle("dark", isDark);
    document.documentElement.style.colorScheme = isDark ? "dark" : "light";
  };
  const begin = () => {
    dress();
    new MutationObserver(dress).observe(document.body, { attributeFilter: ["class"] });
  };
  if (document.body) begin();  // Gradio puts the head's scripts in when it has begun
  else addEventListener("DOMContentLoaded", begin);
  addEventListener("click", (event) => {
    if (!event.target.closest?.("#pawl-look")) return;
    const isDark = document.body.classList.contains("dark");
    localStorage.setItem("pawl-look", isDark ? "light" : "dark");
    dress();
  });
})();
