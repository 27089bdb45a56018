import { type RefObject, useEffect, useState } from "react";

/** Whether what is inside an element is wider than the element, so that it scrolls sideways. */
export function useScrolls(of: RefObject<HTMLElement | null>): boolean {
  const [scrolls, setScrolls] = useState(false);
  useEffect(() => {
    const node = of.current;
    if (node === null) return;
    const watch = new ResizeObserver(() => setScrolls(node.scrollWidth > node.clientWidth));
    watch.observe(node);
    for (const child of node.children) watch.observe(child);
    return () => watch.disconnect();
  }, [of]);
  return scrolls;
}
