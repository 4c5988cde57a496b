"""The page that makes a hybrid model of an encoder and a decoder."""

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods

from evaluation.hybrids import services
from evaluation.models import EvalRun
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, positive_int, redirect_to


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The thresholds of an encoder's evaluation with that of a decoder, ``?decoder=4``, and the button that makes a
    model of both.
    """
    project = project_for(request.user, slug, Action.RUN)
    encoder: EvalRun = get_object_or_404(
        project.eval_runs.with_model().select_related("dataset__schema_version", "training_run__base_model"),
        number=number,
    )
    if not encoder.is_combinable:
        raise Http404
    decoders = list(services.decoder_evaluations(encoder))
    wanted = positive_int((request.POST if request.method == "POST" else request.GET).get("decoder"))
    decoder = next((run for run in decoders if run.number == wanted), decoders[0] if decoders and not wanted else None)
    context = {"project": project, "run": encoder, "decoders": decoders, "decoder": decoder}
    status = 200
    try:
        if request.method == "POST" and decoder is not None:
            run = services.start_hybrid(encoder=encoder, decoder=decoder, user=request.user)
            return redirect_to(request, run.get_absolute_url())
        if decoder is not None:
            thresholds = services.thresholds_of(encoder, decoder)
            context |= {"thresholds": thresholds, "no_gain": services.no_gain(encoder, thresholds)}
    except Refused as error:
        context["problem"], status = error.message, 422
    if request.method == "POST" and decoder is None:
        context["problem"], status = "Choose an evaluation of a decoder.", 422
    return render(request, "evaluation/hybrids/new.html", context, status=status)
