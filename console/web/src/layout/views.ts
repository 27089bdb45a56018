/** The views, in the order of the navigation. */
export const VIEWS = [
  { path: "/", name: "Overview", icon: "M4 13h6V4H4zM14 9h6V4h-6zM14 20h6v-7h-6zM4 20h6v-3H4z" },
  { path: "/scenarios", name: "Scenarios", icon: "M5 5h14v4H5zM5 13h14v6H5zM9 16h6" },
  { path: "/training", name: "Training", icon: "M4 19V5M4 19h16M7 15l4-5 3 3 5-7" },
  { path: "/parameters", name: "Parameters", icon: "M5 7h8M17 7h2M15 5v4M5 17h2M11 17h8M9 15v4M5 12h14" },
  { path: "/performance", name: "Performance", icon: "M5 20v-6M10 20V9M15 20v-9M20 20V4" },
  { path: "/experiments", name: "Experiments", icon: "M9 4h6M10 4v6l-5 9h14l-5-9V4M8 15h8" },
  { path: "/history", name: "History", icon: "M12 7v5l3 2M5 12a7 7 0 1 1 2 5M5 20v-3h3" },
] as const;
