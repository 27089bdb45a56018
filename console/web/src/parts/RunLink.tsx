import { short } from "../format/names";

/** To the run in Dagster's own pages. */
export function RunLink({ url, id }: { url: string | null; id: string | null }) {
  if (url === null || id === null) return <span className="muted">run not known</span>;
  return (
    <a href={url} target="_blank" rel="noreferrer" title="Opens Dagster">
      Dagster run {short(id)} <span aria-hidden="true">↗</span>
    </a>
  );
}
