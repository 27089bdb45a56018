import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { addressed } from "../format/names";
import { answered, api } from "./client";
import type { DecisionRow } from "./types";

const ROOT = "/api/rl-training";
const PAGE = 25;

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: () => answered(api.GET(`${ROOT}/me`)),
  staleTime: Infinity,
});

export const statusQuery = queryOptions({
  queryKey: ["status"],
  queryFn: () => answered(api.GET(`${ROOT}/status`)),
});

export const targetsQuery = queryOptions({
  queryKey: ["targets"],
  queryFn: () => answered(api.GET(`${ROOT}/targets`)),
  staleTime: Infinity,
});

export const symbolsQuery = queryOptions({
  queryKey: ["symbols"],
  queryFn: () => answered(api.GET(`${ROOT}/symbols`)),
});

export const scenariosQuery = queryOptions({
  queryKey: ["scenarios"],
  queryFn: () => answered(api.GET(`${ROOT}/scenarios`)),
});

export const holdsQuery = queryOptions({
  queryKey: ["holds"],
  queryFn: () => answered(api.GET(`${ROOT}/overrides`)),
});

export const parametersQuery = (scope: string) =>
  queryOptions({
    queryKey: ["parameters", scope],
    queryFn: () => answered(api.GET(`${ROOT}/parameters`, { params: { query: { scope } } })),
  });

export const resultsQuery = (session: string) =>
  queryOptions({
    queryKey: ["results", session],
    queryFn: () => answered(api.GET(`${ROOT}/scenarios/results/{id}`, { params: { path: { id: session } } })),
    // Its end is pushed; should that be missed, it is found out all the same.
    refetchInterval: ({ state }) => (state.data?.session.running ? 5_000 : false),
  });

export const performanceQuery = (symbol: string) =>
  queryOptions({
    queryKey: ["performance", symbol],
    queryFn: () =>
      answered(api.GET(`${ROOT}/performance/{symbol}`, { params: { path: { symbol: addressed(symbol) } } })),
  });

export const experimentQuery = (id: string) =>
  queryOptions({
    queryKey: ["experiments", "one", id],
    queryFn: () => answered(api.GET(`${ROOT}/experiments/{id}`, { params: { path: { id } } })),
  });

export const verifyQuery = queryOptions({
  queryKey: ["verify"],
  queryFn: () => answered(api.GET(`${ROOT}/verify`)),
  enabled: false,
});

/** Read a list page by page, the newest first. */
function paged<Page extends { next: string | null }>(
  queryKey: string[],
  read: (query: { limit: number; before?: string }) => Promise<Page>,
) {
  return infiniteQueryOptions({
    queryKey,
    queryFn: ({ pageParam }) => read(pageParam === null ? { limit: PAGE } : { limit: PAGE, before: pageParam }),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
  });
}

export const sessionsQuery = paged(["sessions"], (query) =>
  answered(api.GET(`${ROOT}/sessions`, { params: { query } })),
);

export const experimentsQuery = paged(["experiments"], (query) =>
  answered(api.GET(`${ROOT}/experiments`, { params: { query } })),
);

export const historyQuery = (scope: string | null) =>
  paged(["history", scope ?? ""], (query) =>
    answered(api.GET(`${ROOT}/history`, { params: { query: { ...query, ...(scope !== null && { scope }) } } })),
  );

export const versionsQuery = (scope: string | null) =>
  paged(["versions", scope ?? ""], (query) =>
    answered(api.GET(`${ROOT}/versions`, { params: { query: { ...query, ...(scope !== null && { scope }) } } })),
  );

export const decisionsQuery = (symbol: string | null, action: DecisionRow["action"] | null) =>
  paged(["decisions", symbol ?? "", action ?? ""], (query) =>
    answered(
      api.GET(`${ROOT}/decisions`, {
        params: { query: { ...query, ...(symbol !== null && { symbol }), ...(action !== null && { action }) } },
      }),
    ),
  );
