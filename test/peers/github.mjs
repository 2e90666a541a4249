// Asks GitHub what is there, as a program that knows nothing of Valetkey:
//
//   node github.mjs open OWNER REPO TITLE     open an issue, print it
//   node github.mjs comments OWNER REPO N     print the comments of an issue
//   node github.mjs issues OWNER REPO         print the issues of a repository
//
// GITHUB_API is the address of the API, GITHUB_TOKEN a token of the emulator's
// own. Answers are printed as JSON.
import { Octokit } from "@octokit/rest";

const github = new Octokit({
  baseUrl: process.env.GITHUB_API,
  auth: process.env.GITHUB_TOKEN,
  userAgent: "peers",
});

const [verb, owner, repo, rest] = process.argv.slice(2);
const calls = {
  open: () => github.rest.issues.create({ owner, repo, title: rest }),
  comments: () => github.rest.issues.listComments({ owner, repo, issue_number: Number(rest) }),
  issues: () => github.rest.issues.listForRepo({ owner, repo }),
};
const { data } = await calls[verb]();
process.stdout.write(JSON.stringify(data));
