import { useComputedColorScheme, useMantineColorScheme } from "@mantine/core";

import { Icon } from "../parts/Icon";
import styles from "./TopBar.module.css";

const SUN = "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2";
const MOON = "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z";

/** Light or dark; until it is pressed, the page goes by the system. */
export function SchemeToggle() {
  // Mantine would stop transitions meanwhile by a style element, which the policy of the page forbids.
  const { setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  const now = useComputedColorScheme("light");
  const other = now === "light" ? "dark" : "light";
  return (
    <button
      className={styles.icon}
      onClick={() => setColorScheme(other)}
      aria-label={`Use ${other} colours`}
      title={`Use ${other} colours`}
    >
      <Icon path={now === "light" ? MOON : SUN} />
    </button>
  );
}
