import { useQueryClient } from "@tanstack/react-query";

/** Returns what is called once something was changed here: all that is shown is read anew. */
export function useChanged(): () => void {
  const queries = useQueryClient();
  return () => void queries.invalidateQueries();
}
