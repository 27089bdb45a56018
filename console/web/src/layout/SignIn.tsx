import { Button, PasswordInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState, type SyntheticEvent } from "react";

import { keepToken, signIn } from "../api/token";
import { useStore } from "../live/store";
import { Dialog } from "../parts/Dialog";

/** Asks for the token where the console wants one. */
export function SignIn() {
  const { needed, refused } = useStore(signIn);
  const [value, setValue] = useState("");
  const queries = useQueryClient();

  function submit(event: SyntheticEvent) {
    event.preventDefault();
    queries.clear();
    keepToken(value.trim());
    setValue("");
  }

  return (
    <Dialog title="Sign in" opened={needed}>
      <form className="stack" onSubmit={submit}>
        <p>
          This console asks for a token. Whoever runs it makes one with{" "}
          <code>python -m console token --role operator --name NAME</code>.
        </p>
        <PasswordInput
          label="Token"
          description="Kept in this tab alone, until it is closed."
          autoComplete="off"
          error={refused && "This token is not known to the console."}
          value={value}
          onChange={(event) => setValue(event.currentTarget.value)}
          visibilityToggleButtonProps={{ "aria-label": "Show the token" }}
          data-autofocus
          required
        />
        <Button type="submit" disabled={!/^[\x21-\x7e]+$/.test(value.trim())}>
          Sign in
        </Button>
      </form>
    </Dialog>
  );
}
