// Package desk is a person's workstation in tests of whole sessions: podstep's real programs, an editor that speaks to one of
// them, and the question what is left on the machine afterwards. It knows nothing of where targets run.
package desk
