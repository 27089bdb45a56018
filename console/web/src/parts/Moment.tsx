import { relative, utc } from "../format/times";
import { useNow } from "./useNow";

interface Props {
  at: string;
  /** Beside the time, how long ago that was. */
  hint?: boolean;
  seconds?: boolean;
}

/** A moment in UTC. */
export function Moment({ at, hint = true, seconds = false }: Props) {
  const now = useNow(15_000);
  return (
    <time dateTime={at} title={`${utc(at, true)} UTC`}>
      <span className="number">{utc(at, seconds)}</span>
      {hint && (
        <>
          {" "}
          <span className="muted small number">· {relative(at, now)}</span>
        </>
      )}
    </time>
  );
}
