import { Skeleton } from "@mantine/core";

/** Lines in the place of what is being read. */
export function Waiting({ lines = 3 }: { lines?: number }) {
  return (
    <div className="tight inset" role="status" aria-label="Reading">
      {Array.from({ length: lines }, (_, line) => (
        <Skeleton key={line} height={14} width={`${92 - ((line * 17) % 40)}%`} />
      ))}
    </div>
  );
}
