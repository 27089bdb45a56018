import { createTheme, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Suspense } from "react";
import { Route, Router, Switch } from "wouter";

import { problemOf } from "./api/problem";
import { historyQuery, meQuery, performanceQuery, scenariosQuery, statusQuery } from "./api/queries";
import { Shell } from "./layout/Shell";
import { Waiting } from "./parts/Waiting";
import { Experiments, History, onceFetched, Parameters, Performance, Scenarios, Training } from "./views/files";
import { Nowhere } from "./views/Nowhere";
import { Overview } from "./views/overview/Overview";

const theme = createTheme({ respectReducedMotion: true, cursorType: "pointer" });

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // The event stream says when something has become old.
      staleTime: 30_000,
      retry: (failures, error) => problemOf(error).passing && failures < 2,
    },
    mutations: { retry: (failures, error) => problemOf(error).status === 0 && failures < 1 },
  },
});

/** Ask for what the page opens with before it is drawn for the first time. */
function askAhead(): void {
  const asked: Promise<unknown>[] = [queries.query(meQuery), queries.query(statusQuery)];
  if (window.location.pathname === "/") {
    asked.push(queries.query(scenariosQuery), queries.query(performanceQuery("all")), queries.infiniteQuery(historyQuery(null)));
  }
  // Who shows an answer also says what went wrong with it.
  for (const answer of asked) answer.catch(() => undefined);
}

askAhead();

export function App() {
  return (
    // The policy of the page forbids style elements, so that all of Mantine's styles are in files.
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={queries}>
        <Router aroundNav={onceFetched}>
          <Shell>
            <Suspense fallback={<Waiting lines={6} />}>
              <Switch>
                <Route path="/" component={Overview} />
                <Route path="/scenarios" component={Scenarios} />
                <Route path="/training/:session?">{({ session }) => <Training session={session ?? null} />}</Route>
                <Route path="/parameters" component={Parameters} />
                <Route path="/performance/:symbol?">{({ symbol }) => <Performance address={symbol ?? "all"} />}</Route>
                <Route path="/experiments/:id?">{({ id }) => <Experiments id={id ?? null} />}</Route>
                <Route path="/history" component={History} />
                <Route component={Nowhere} />
              </Switch>
            </Suspense>
          </Shell>
        </Router>
      </QueryClientProvider>
    </MantineProvider>
  );
}
